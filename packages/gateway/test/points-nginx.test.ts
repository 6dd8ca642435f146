import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { connect as connectSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { IdentityMaterial } from '@sallyport/transport'
import { startWorld, until } from './support/world.ts'
import { withPoints } from './support/points.ts'

const skip = spawnSync('nginx', ['-v']).error ? 'nginx is not on this machine' : false

/** The part of the documentation that a user copies; what is theirs to fill in stands in capitals. */
const documented = readFileSync(
  new URL('../../../docs/gateway/enforcement-points.md', import.meta.url),
  'utf8',
)
const SERVER = /```nginx\n([\s\S]*?)```/.exec(documented)?.[1] ?? ''

interface Asked {
  readonly status: number | undefined
  readonly body: string
  readonly headers: IncomingMessage['headers']
}

test('nginx, configured as documented, enforces what the gateway decides', { skip }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-nginx-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const at = (name: string): string => join(dir, name)
  const world = await startWorld(
    { points: { path: at('points.sock') } },
    undefined,
    withPoints({ edge: { systems: ['rates', 'bank'], can: [] } }),
  )
  t.after(() => world.close())
  const seen: string[] = []
  const upstream = createServer((req, res) => {
    seen.push(`${req.method} ${req.url}`)
    res.end('{"rate":1}')
  })
  upstream.listen(at('up.sock'))
  await once(upstream, 'listening')
  t.after(() => upstream.close())

  const own = world.plane.service('edge')
  writeFileSync(at('svid.pem'), own.chainPem)
  writeFileSync(at('svid.key'), own.keyPem)
  writeFileSync(at('roots.pem'), own.rootsPem)
  const filled = SERVER.replaceAll('SYSTEM', 'rates')
    .replaceAll('UPSTREAM', `unix:${at('up.sock')}:`)
    .replaceAll('POINTS', `unix:${at('points.sock')}:`)
    .replaceAll('LISTEN', `unix:${at('in.sock')}`)
    .replaceAll('/etc/sallyport', dir)
  writeFileSync(
    at('nginx.conf'),
    `daemon off; master_process off; pid ${at('pid')}; error_log ${at('error.log')};
events {}
http {
  access_log off;
  client_body_temp_path ${at('b')}; proxy_temp_path ${at('p')}; fastcgi_temp_path ${at('f')};
  uwsgi_temp_path ${at('u')}; scgi_temp_path ${at('s')};
  ${filled}
}`,
  )
  const nginx = spawn('nginx', ['-c', at('nginx.conf'), '-p', dir], { stdio: 'inherit' })
  t.after(async () => {
    if (nginx.exitCode === null) {
      nginx.kill('SIGTERM')
      await once(nginx, 'exit')
    }
  })
  // It writes its file once it listens.
  await until(() => existsSync(at('pid')) || nginx.exitCode !== null)
  assert.equal(nginx.exitCode, null)

  const socketOf = async (as: IdentityMaterial | undefined): Promise<TLSSocket> => {
    const plain = connectSocket(at('in.sock'))
    await once(plain, 'connect')
    const socket = connect({
      socket: plain,
      ca: own.rootsPem,
      ...(as === undefined ? {} : { cert: as.chainPem, key: as.keyPem }),
      checkServerIdentity: () => undefined,
    })
    await once(socket, 'secureConnect')
    return socket
  }
  const ask = async (
    as: IdentityMaterial | undefined,
    over: { method?: string; path?: string; headers?: OutgoingHttpHeaders; body?: string } = {},
  ): Promise<Asked> => {
    const socket = await socketOf(as)
    const req = request({
      createConnection: () => socket,
      path: over.path ?? '/v1/rate',
      method: over.method ?? 'GET',
      headers: { host: 'rates.test', ...over.headers },
    })
    req.end(over.body)
    // Node's HTTP client emits one response.
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    let body = ''
    for await (const chunk of res.setEncoding('utf8')) body += String(chunk)
    socket.destroy()
    return { status: res.statusCode, body, headers: res.headers }
  }
  const reader = world.plane.agent('reader')
  const before = (): number => seen.length

  const allowed = await ask(reader)
  assert.deepEqual([allowed.status, allowed.body], [200, '{"rate":1}'])
  assert.match(String(allowed.headers['sallyport-decision']), /^dec_/)
  assert.deepEqual(seen, ['GET /v1/rate'])

  const old = world.plane.agent('reader', 'old', 1)
  await until(() => Date.now() > old.notAfter)
  const count = before()
  const refusals: [string, Promise<Asked>, number, string | undefined][] = [
    ['no flow', ask(world.plane.agent('stranger')), 403, 'SP_NO_FLOW'],
    ['undeclared path', ask(reader, { path: '/v1/other' }), 403, 'SP_NO_OPERATION'],
    ['undeclared method', ask(reader, { method: 'DELETE' }), 403, 'SP_NO_OPERATION'],
    ['dots', ask(reader, { path: '/v1/x/../rate' }), 403, 'SP_REQUEST_TARGET'],
    ['doubled slash', ask(reader, { path: '/v1//rate' }), 403, 'SP_REQUEST_TARGET'],
    ['encoded', ask(reader, { path: '/v1%2frate' }), 403, 'SP_REQUEST_TARGET'],
    [
      'another system by a header of the caller’s',
      ask(reader, { headers: { 'x-sallyport-system': 'bank' }, path: '/v1/watch' }),
      403,
      'SP_NO_OPERATION',
    ],
    [
      'another certificate by a header of the caller’s',
      ask(world.plane.agent('stranger'), {
        headers: {
          'x-sallyport-certificate': encodeURIComponent(reader.chainPem),
          'x-sallyport-method': 'GET',
          'x-sallyport-target': '/v1/rate',
        },
      }),
      403,
      'SP_NO_FLOW',
    ],
    [
      'an override of the method',
      ask(reader, { headers: { 'x-http-method-override': 'DELETE' } }),
      403,
      'SP_REQUEST_HEADER',
    ],
    [
      'a body that nobody saw',
      ask(reader, { body: '{}', headers: { 'content-length': '2' } }),
      403,
      'SP_REQUEST_BODY',
    ],
    [
      'a body in pieces',
      ask(reader, { body: '{}', headers: { 'transfer-encoding': 'chunked' } }),
      403,
      'SP_REQUEST_BODY',
    ],
    ['no certificate', ask(undefined), 400, undefined],
    ['an expired certificate', ask(old), 400, undefined],
  ]
  for (const [what, asked, status, code] of refusals) {
    const answer = await asked
    assert.equal(answer.status, status, what)
    assert.equal(answer.headers['sallyport-code'], code, what)
  }
  assert.equal(before(), count, 'nothing of it was forwarded')

  assert.equal((await ask(reader)).status, 200, 'and it still answers')
  await world.gateway.close()
  assert.equal((await ask(reader)).status, 500, 'closed where nobody decides')
  assert.equal(before(), count + 1)
})
