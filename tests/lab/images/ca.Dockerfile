# The lab's certificate authority and the one certificate that its services share.
ARG BASE
FROM ${BASE}
WORKDIR /lab
RUN command -v openssl || { apt-get update && apt-get install -y --no-install-recommends openssl; }
RUN openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 \
      -subj "/CN=Slipway lab CA" -keyout ca.key -out ca.crt \
      -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
 && openssl req -x509 -CA ca.crt -CAkey ca.key \
      -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 \
      -subj "/CN=services.test" -keyout services.key -out services.crt \
      -addext "subjectAltName=DNS:services.test,DNS:*.services.test,DNS:*.s3.services.test" \
      -addext "basicConstraints=critical,CA:FALSE" -addext "keyUsage=critical,digitalSignature" \
      -addext "extendedKeyUsage=serverAuth"
