import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { IdentityMaterial } from '@sallyport/transport'

const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find((path) =>
  existsSync(path),
)

export const hasNginx: boolean = NGINX !== undefined

export interface Rivals {
  /** By what they do: nothing, or ask; the log buffered, or synced. */
  readonly ports: { readonly bare: number; readonly buffered: number; readonly synced: number }
  /** Of nginx; its workers are its children. */
  readonly pid: number
  stop(): Promise<void>
}

/** nginx as one would set it up: mutual TLS on both sides, connections kept, a decision asked for and an outcome logged where there is one. */
export async function startRivals(
  dir: string,
  identity: IdentityMaterial,
  upstreamPort: number,
  decisions: string,
): Promise<Rivals> {
  if (NGINX === undefined) throw new Error('no nginx on this machine')
  await mkdir(dir, { recursive: true })
  const at = (name: string): string => join(dir, name)
  await writeFile(at('chain.pem'), identity.chainPem)
  await writeFile(at('key.pem'), identity.keyPem, { mode: 0o600 })
  await writeFile(at('roots.pem'), [identity.rootsPem].flat().join('\n'))
  const ports = { bare: await freePort(), buffered: await freePort(), synced: await freePort() }
  const server = (port: number, ask: string | undefined): string => `
  server {
    listen 127.0.0.1:${port} ssl;
    ${ask === undefined ? '' : `location = /ask { internal; proxy_pass http://decisions/${ask}; proxy_pass_request_body off; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Content-Length ""; proxy_set_header X-Uri $request_uri; proxy_set_header X-Cert $ssl_client_escaped_cert; }`}
    ${ask === undefined ? '' : `access_log ${at('outcomes.log')} outcome buffer=64k flush=1s;`}
    location /bank/ {
      ${ask === undefined ? '' : 'auth_request /ask;'}
      proxy_pass https://service/;
    }
  }`
  await writeFile(
    at('nginx.conf'),
    `daemon off; user root; worker_processes auto; pid ${at('pid')}; error_log ${at('error.log')};
events { worker_connections 4096; }
http {
  access_log off;
  log_format outcome escape=json '{"id":"$request_id","at":"$msec","uri":"$request_uri","status":$status,"bytesOut":$body_bytes_sent,"seconds":$request_time}';
  client_body_temp_path ${at('a')}; proxy_temp_path ${at('b')}; fastcgi_temp_path ${at('c')}; uwsgi_temp_path ${at('d')}; scgi_temp_path ${at('e')};
  keepalive_requests 1000000; keepalive_timeout 120s;
  ssl_protocols TLSv1.3; ssl_session_tickets off;
  ssl_certificate ${at('chain.pem')}; ssl_certificate_key ${at('key.pem')};
  ssl_client_certificate ${at('roots.pem')}; ssl_verify_client on; ssl_verify_depth 4;
  upstream service { server 127.0.0.1:${upstreamPort}; keepalive 128; keepalive_requests 1000000; }
  upstream decisions { server unix:${decisions}; keepalive 128; keepalive_requests 1000000; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host service;
  proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate ${at('chain.pem')}; proxy_ssl_certificate_key ${at('key.pem')};
  proxy_ssl_trusted_certificate ${at('roots.pem')}; proxy_ssl_verify off;
  ${server(ports.bare, undefined)}
  ${server(ports.buffered, 'buffered')}
  ${server(ports.synced, 'synced')}
}
`,
  )
  const child = spawn(NGINX, ['-p', dir, '-c', at('nginx.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  await sleep(500)
  if (child.exitCode !== null) throw new Error(`nginx ended: ${said}`)
  if (child.pid === undefined) throw new Error('nginx did not start')
  return {
    ports,
    pid: child.pid,
    stop: async () => {
      const ended = new Promise((resolve) => {
        child.once('exit', resolve)
      })
      child.kill('SIGTERM')
      await ended
    },
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port)
        else reject(new Error('no port'))
      })
    })
  })
}
