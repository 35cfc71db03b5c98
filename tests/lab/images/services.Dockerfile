# What stands around the machines: an ACME server, two S3 servers and a git server.
ARG BASE
ARG CA
FROM ${CA} AS ca
FROM ${BASE}
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      curl fcgiwrap git nginx pebble python3-venv \
 && rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
COPY requirements.txt /opt/lab/requirements.txt
RUN python3 -m venv /opt/lab/venv \
 && /opt/lab/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
      --requirement /opt/lab/requirements.txt
COPY --from=ca /lab/services.crt /lab/services.key /etc/lab/
COPY pebble.json /etc/lab/pebble.json
COPY nginx.conf /etc/nginx/nginx.conf
COPY *.service /etc/systemd/system/
# The repositories belong to root, git serves them as www-data.
RUN git config --system safe.directory '*' && git config --system init.defaultBranch main \
 && mkdir -p /srv/git /srv/s3/backups /srv/s3/slipway-demo \
 && systemctl enable pebble.service moto.service rclone.service git.service \
      fcgiwrap.socket nginx.service
