#!/bin/sh
# nginx behind an entrypoint as its images have it. Its configuration is made by what is in the
# entrypoint's folder. It asks for the address of hello when it starts, and again when it is told
# to: a client beside it says what it answers before and after that.
ENTRYPOINT_D=$(mktemp -d)
export ENTRYPOINT_D
cat >"$ENTRYPOINT_D/10-port.envsh" <<'END'
export NGINX_PORT=$PORT
END
cat >"$ENTRYPOINT_D/20-conf.sh" <<'END'
#!/bin/sh
cat >/tmp/nginx.conf <<CONF
pid /tmp/nginx.pid; error_log stderr error; events {}
http {
  access_log off;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
  scgi_temp_path /tmp/s; uwsgi_temp_path /tmp/u;
  server { listen 127.0.0.1:$NGINX_PORT; location / { proxy_pass http://hello; proxy_set_header Host hello; } }
}
CONF
END
chmod +x "$ENTRYPOINT_D"/*.sh

call() { until curl -sf "http://127.0.0.1:$PORT/"; do :; done; }
worker() { pgrep -x nginx -P $$ | head -n 1; }
{
  until old=$(worker) && [ "$old" ]; do :; done
  call
  while pgrep -x nginx -P $$ | grep -qx "$old"; do :; done
  call
  echo reloaded
} &
exec /tests/clients/docker-entrypoint.sh nginx -c /tmp/nginx.conf -g 'daemon off;'
