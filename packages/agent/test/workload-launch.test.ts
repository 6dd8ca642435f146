import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'

import { enrol, launchAgent, lazyWorkload } from '../src/index.ts'
import type { LaunchOptions } from '../src/index.ts'
import { findIsolation } from '../src/launcher/isolate.ts'
import { makeFabric, Plane, TRUST_DOMAIN } from './plane.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-wl-'))
after(() => {
  rmSync(dir, { recursive: true, force: true })
})

/** A SPIFFE client that knows nothing but `SPIFFE_ENDPOINT_SOCKET`: it says what each message and each end of the stream brought. */
const PROGRAM = `
const grpc = require(process.argv[1])
const client = new grpc.Client(process.env.SPIFFE_ENDPOINT_SOCKET, grpc.credentials.createInsecure())
const metadata = new grpc.Metadata()
metadata.set('workload.spiffe.io', 'true')
const bytes = (value) => value
const run = () => client
  .makeServerStreamRequest('/SpiffeWorkloadAPI/FetchX509SVID', bytes, bytes, Buffer.alloc(0), metadata)
  .on('data', (message) => console.log('svid', /spiffe:\\/\\/[a-z0-9./]+\\/1/.exec(message.toString('latin1'))[0]))
  .on('error', (error) => { console.log('ended', error.code); setTimeout(run, 100) })
run()
`
const GRPC = import.meta.resolve('@grpc/grpc-js').slice('file://'.length)
const ID = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`

/** Launches the client with an identity that a real enrolment makes when it is asked for. */
async function check(isolate: LaunchOptions['isolate']): Promise<void> {
  const fabric = makeFabric()
  const plane = new Plane(fabric)
  await using running = await plane.start()
  let enrolments = 0
  const workload = lazyWorkload(async (onRotationError) => {
    // A token for a first one that the control plane does not know: what failed once is tried again.
    if (++enrolments > 1) plane.tokens.set('t', ID)
    return enrol({
      rootsPem: fabric.root.certificatePem,
      trustDomain: TRUST_DOMAIN,
      token: 't',
      planeTarget: running.target,
      onRotationError,
    })
  })
  const lines: string[] = []
  let tell = (): void => undefined
  const until = async (line: string): Promise<void> => {
    while (!lines.includes(line)) await new Promise<void>((resolve) => (tell = resolve))
  }
  const refused: unknown[] = []
  const launched = await launchAgent({
    name: 'monitor',
    command: process.execPath,
    args: ['-e', PROGRAM, GRPC],
    env: {},
    runDir: join(dir, `run-${isolate}`),
    gateway: running.target,
    control: running.target,
    workload,
    onWorkloadRefused: (error) => refused.push(error),
    isolate,
    onStdout(line) {
      lines.push(line)
      tell()
    },
    onStderr(line) {
      lines.push(line)
      tell()
    },
    onExit: () => undefined,
  })
  try {
    await until(`svid ${ID}`)
    assert.deepEqual(
      lines.slice(0, -1).filter((line) => line.startsWith('svid')),
      [],
    )
    assert.ok(refused.length > 0)
    lines.length = 0
    launched.cut()
    // What was open ends, and nothing is there to connect to again.
    await until('ended 14')
    assert.equal(enrolments, 2)
    await assert.rejects(workload.source(), { code: 'SP_WORKLOAD_DENIED' })
  } finally {
    await launched.stop()
  }
}

describe('the workload API beside a launched agent', () => {
  it('gives a SPIFFE client its identity, until it is cut', { timeout: 60_000 }, () => check('off'))

  it('also where the program is isolated', { timeout: 60_000 }, async (context) => {
    const found = await findIsolation()
    if (!found.isolation.network) {
      context.skip(`this machine cannot isolate: ${found.reason}`)
      return
    }
    await check('require')
  })
})
