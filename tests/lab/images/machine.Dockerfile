# What a bare Debian cloud image has, ready to boot in a container.
ARG BASE
ARG CA
FROM ${CA} AS ca
FROM ${BASE}
ARG PACKAGES
ENV container=docker
COPY sources.list /etc/apt/sources.list
COPY 90host /etc/apt/apt.conf.d/90host
# An image of a registry refuses to start services and keeps its own sources; a machine does neither.
# It knows no certificates yet; packages are vouched for by their signatures.
RUN rm -rf /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/docker* \
      /usr/sbin/policy-rc.d \
 && dpkg-query --show ${PACKAGES} >/dev/null 2>&1 \
 || { echo 'Acquire::https::Verify-Peer "false";' >/etc/apt/apt.conf.d/91bare \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${PACKAGES} \
 && rm /etc/apt/apt.conf.d/91bare; }
COPY --from=ca /lab/ca.crt /usr/local/share/ca-certificates/slipway-lab.crt
COPY trust/ /usr/local/share/ca-certificates/
# With certificates of the host there is something on the way to the Internet that only they
# vouch for: pip and uv, which bring their own list, are told to use the machine's.
RUN update-ca-certificates \
 && if ls /usr/local/share/ca-certificates/host-*.crt >/dev/null 2>&1; then \
      printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >/etc/pip.conf; \
      mkdir -p /etc/uv; echo 'native-tls = true' >/etc/uv/uv.toml; \
    fi
# No hardware, no consoles, no sessions; a new identity at every first boot. The package lists are
# gone and their folder is old, so that the first update really happens.
RUN systemctl mask systemd-udevd.service systemd-logind.service systemd-udev-trigger.service \
      getty.target console-getty.service systemd-remount-fs.service \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb \
 && touch -d 2000-01-01 /var/lib/apt/lists \
 && : >/etc/machine-id
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
