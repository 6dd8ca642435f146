import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

import { credentials, makeClientConstructor, Metadata, status } from '@grpc/grpc-js'
import { IdentityHolder } from '@sallyport/transport'

import { attesting } from '../src/workload/attest.ts'
import { attest } from '../src/workload/match.ts'
import type { DeclaredProcess } from '../src/workload/match.ts'
import { Caller } from '../src/workload/caller.ts'
import { WORKLOAD_SERVICE } from '../src/workload/grpc.ts'
import { serveWorkloadApi } from '../src/workload/serve.ts'
import { IdentitySource } from '../src/workload/source.ts'
import { identityOf, makeFabric, noPlane, TRUST_DOMAIN } from './plane.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-attest-'))
chmodSync(dir, 0o755)
const path = join(dir, 's')
const server = createServer({ pauseOnConnect: true })
server.listen(path, () => {
  chmodSync(path, 0o666)
})
await once(server, 'listening')
after(() => {
  server.close()
  rmSync(dir, { recursive: true, force: true })
})

const PERL = realpathSync('/usr/bin/perl')
const SLEEP = realpathSync('/bin/sleep')
const sha256 = createHash('sha256').update(readFileSync(PERL)).digest('hex')
/** Connects, waits for a line, and becomes another program that has the connection still. */
const PROGRAM = `
use Socket; $^F = 255;
socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, sockaddr_un($ARGV[0])) or die $!;
if (defined(my $line = <STDIN>)) { exec '/bin/sleep', '1000' }
`
const NOBODY = 65_534
const uid = process.getuid?.() ?? NOBODY
const gid = process.getgid?.() ?? NOBODY
const root = uid === 0

interface Connected extends Disposable {
  readonly socket: Socket
  readonly child: ChildProcess
}

async function connected(
  program = PERL,
  options: SpawnOptions = {},
  args: readonly string[] = [],
): Promise<Connected> {
  const accepted = once(server, 'connection')
  const child = spawn(program, [...args, '-e', PROGRAM, path], {
    ...options,
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  // What `connection` brings.
  const [socket] = (await accepted) as [Socket]
  return {
    socket,
    child,
    [Symbol.dispose]() {
      child.kill('SIGKILL')
      socket.destroy()
    },
  }
}

async function agentOf(
  connection: Connected,
  ...selectors: readonly DeclaredProcess['unix'][]
): Promise<string> {
  using caller = await Caller.of(connection.socket)
  return await attest(
    caller,
    selectors.map((unix, i) => ({ agent: `agent-${i}`, unix })),
  )
}

const refused = (detail: RegExp): object => ({ code: 'SP_WORKLOAD_DENIED', detail })

describe('a process at the other end of a Unix socket', () => {
  it('is the agent whose user, group, path and hash it has', async () => {
    using perl = await connected()
    for (const unix of [
      { uid },
      { uid, gid },
      { uid, path: PERL },
      { uid, gid, path: PERL, sha256 },
    ]) {
      assert.equal(await agentOf(perl, unix), 'agent-0')
    }
    for (const [unix, reason] of [
      [{ uid: uid + 1 }, /no declared agent$/],
      [{ uid, gid: gid + 1 }, /no declared agent$/],
      [{ uid, path: SLEEP }, /its executable is not/],
      [{ uid, path: '/nowhere/perl' }, /its executable is not/],
      [{ uid, path: PERL, sha256: '0'.repeat(64) }, /another hash/],
      [{ uid, path: SLEEP, sha256 }, /its executable is not/],
    ] as const) {
      await assert.rejects(agentOf(perl, unix), refused(reason))
    }
  })

  it('is nobody where it could be several, whatever their order', async () => {
    using perl = await connected()
    assert.equal(await agentOf(perl, { uid, path: SLEEP }, { uid, path: PERL }), 'agent-1')
    await assert.rejects(
      agentOf(perl, { uid }, { uid, path: PERL }),
      refused(/could be agent-0 or agent-1/),
    )
    await assert.rejects(agentOf(perl, { uid, sha256 }, { uid }), refused(/could be/))
  })

  // MUST-reject: PID reuse between connect and attest, which really happens here.
  it('is not the program that got its number afterwards', async (context) => {
    const namespace = ['-Urpf', '--mount-proc']
    const choose = 'echo 1 >/proc/sys/kernel/ns_last_pid'
    if (spawnSync('unshare', [...namespace, 'sh', '-c', choose]).status !== 0) {
      context.skip('this machine lets nobody choose the number of the next process')
      return
    }
    const script = fileURLToPath(new URL('support/pid-reuse.ts', import.meta.url))
    const run = spawnSync('unshare', [...namespace, process.execPath, script], { timeout: 60_000 })
    assert.equal(run.status, 0, String(run.stderr))
    // What the script prints.
    const said = JSON.parse(String(run.stdout)) as Record<string, string>
    assert.equal(said['positive'], 'perl')
    for (const when of ['before', 'between']) {
      assert.match(said[when] ?? '', /SP_WORKLOAD_DENIED/)
      assert.match(said[when] ?? '', /not the one that connected|has ended/)
    }
  })

  it('is not what it was once it runs another program, or none', async () => {
    using perl = await connected()
    using caller = await Caller.of(perl.socket)
    assert.equal(await attest(caller, [{ agent: 'a', unix: { uid, path: PERL } }]), 'a')
    caller.check()
    perl.child.stdin?.write('go\n')
    const exe = `/proc/${caller.pid}/exe`
    while (readlinkSync(exe) === PERL) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.throws(
      () => {
        caller.check()
      },
      refused(/runs another program now/),
    )

    using other = await connected()
    using gone = await Caller.of(other.socket)
    gone.check()
    other.child.kill('SIGKILL')
    await once(other.child, 'exit')
    assert.throws(
      () => {
        gone.check()
      },
      refused(/not the one that connected/),
    )
  })

  it('cannot name its file itself, in a mount namespace of its own', async (context) => {
    if (spawnSync('unshare', ['-Urm', 'true']).status !== 0) {
      context.skip('this machine permits no mount namespace')
      return
    }
    const script = 'mount --bind "$0" "$1" && program=$1 && shift && exec "$program" "$@"'
    using disguised = await connected('unshare', {}, ['-Urm', 'sh', '-c', script, PERL, SLEEP])
    using caller = await Caller.of(disguised.socket)
    // What a check of the path as the kernel shows it would believe.
    assert.equal(readlinkSync(`/proc/${caller.pid}/exe`), SLEEP)
    await assert.rejects(agentOf(disguised, { uid, path: SLEEP }), refused(/its executable is not/))
  })

  it('proves nothing by a file that it can change', async (context) => {
    if (!root) {
      context.skip('only root can start programs of another user')
      return
    }
    const nobody = { uid: NOBODY, gid: NOBODY }
    const own = join(dir, 'own')
    copyFileSync(PERL, own)
    chmodSync(own, 0o755)
    using honest = await connected(own, nobody)
    const declared = { uid: NOBODY, path: own, sha256 }
    assert.equal(await agentOf(honest, declared), 'agent-0')
    chmodSync(own, 0o775)
    await assert.rejects(agentOf(honest, declared), refused(/changed by others/))
    chmodSync(own, 0o755)
    chownSync(own, NOBODY, 0)
    await assert.rejects(agentOf(honest, declared), refused(/belongs to the very user/))
    assert.equal(await agentOf(honest, { uid: NOBODY }), 'agent-0')
  })

  it('has no more than its share of connections', async () => {
    const source = new IdentitySource({
      holder: new IdentityHolder(identityOf(makeFabric(), '/agent/monitor/1')),
      spiffeId: `spiffe://${TRUST_DOMAIN}/agent/monitor/1`,
      ask: noPlane,
    })
    const admit = attesting(
      () => [{ agent: 'monitor', unix: { uid } }],
      () => Promise.resolve(source),
    )
    const near: Socket[] = []
    const far: Socket[] = []
    const one = async (): Promise<void> => {
      const accepted = once(server, 'connection')
      near.push(connect(path))
      // What `connection` brings.
      const [socket] = (await accepted) as [Socket]
      far.push(socket)
      await admit(socket)
    }
    for (let i = 0; i < 64; i++) await one()
    await assert.rejects(one(), refused(/too many connections/))
    for (const socket of far.splice(0)) {
      socket.destroy()
      await once(socket, 'close')
    }
    await one()
    for (const socket of [...near, ...far]) socket.destroy()
  })
})

describe('a workload API that several agents share', () => {
  it('gives each process the identity of the one agent that it is, and others none', async () => {
    const fabric = makeFabric()
    let declared: readonly DeclaredProcess[] = [
      { agent: 'monitor', unix: { uid } },
      { agent: 'flagger', unix: { uid: uid + 1 } },
    ]
    const asked: string[] = []
    const refusals: unknown[] = []
    const shared = join(dir, 'shared')
    const api = await serveWorkloadApi({
      path: shared,
      mode: 0o666,
      admit: attesting(
        () => declared,
        (agent) => {
          asked.push(agent)
          const holder = new IdentityHolder(identityOf(fabric, `/agent/${agent}/1`))
          const spiffeId = `spiffe://${TRUST_DOMAIN}/agent/${agent}/1`
          return Promise.resolve(new IdentitySource({ holder, spiffeId, ask: noPlane }))
        },
      ),
      onRefused: (error) => refusals.push(error),
    })
    const Client = makeClientConstructor(WORKLOAD_SERVICE, 'SpiffeWorkloadAPI')
    const metadata = new Metadata()
    metadata.set('workload.spiffe.io', 'true')
    const fetch = async (): Promise<unknown> => {
      const client = new Client(`unix:${shared}`, credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
      })
      try {
        const { path: method, responseDeserialize } = WORKLOAD_SERVICE['FetchX509SVID'] ?? {}
        assert.ok(method !== undefined && responseDeserialize)
        const stream = client.makeServerStreamRequest(
          method,
          () => Buffer.alloc(0),
          responseDeserialize,
          {},
          metadata,
        )
        return await new Promise((resolve, reject) => {
          stream.once('data', resolve)
          stream.on('error', reject)
        })
      } finally {
        client.close()
      }
    }
    // What the message is read as.
    const { svids } = (await fetch()) as { svids: { spiffe_id: string }[] }
    assert.deepEqual(
      svids.map((svid) => svid.spiffe_id),
      [`spiffe://${TRUST_DOMAIN}/agent/monitor/1`],
    )
    declared = declared.slice(1)
    await assert.rejects(fetch(), { code: status.PERMISSION_DENIED })
    assert.equal(refusals.length, 1)
    assert.deepEqual(asked, ['monitor'])
    api.close()
  })
})
