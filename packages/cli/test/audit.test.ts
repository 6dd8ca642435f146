import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { leafHash, openLog, parseCheckpoint, verifyInclusion } from '@sallyport/tlog'

const BIN = join(import.meta.dirname, '../bin/sallyport.ts')
const ORIGIN = 'bank.example/gateway/gw1'

test('audit prove gives a proof that anyone can check, of existing and untouched records only', async (t) => {
  const data = mkdtempSync(join(tmpdir(), 'sp-prove-'))
  t.after(() => rmSync(data, { recursive: true, force: true }))
  const dir = join(data, 'gateway/gw1/log')
  mkdirSync(dir, { recursive: true })
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  writeFileSync(join(dir, 'origin'), `${ORIGIN}\n`)
  writeFileSync(join(dir, '../log.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
  const log = await openLog({ dir, origin: ORIGIN, signer: privateKey, segmentBytes: 8192 })
  for (let i = 0; i < 37; i++) {
    await log.append(Buffer.from(`record ${i}`))
    if (i % 10 === 0) await log.checkpoint()
  }
  await log.close()
  const prove = (index: string): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [BIN, 'audit', 'prove', index, '--data', data, '--json'], {
      encoding: 'utf8',
    })
  const { status, stdout, stderr } = prove('17')
  assert.equal(status, 0, String(stderr))
  // The command's own documented output.
  const proof = JSON.parse(String(stdout)) as {
    index: number
    size: number
    record: string
    hashes: string[]
    checkpoint: string
  }
  const record = Buffer.from(proof.record, 'base64')
  assert.equal(record.toString(), 'record 17')
  const head = parseCheckpoint(proof.checkpoint, publicKey, ORIGIN)
  const hashes = proof.hashes.map((hash) => Buffer.from(hash, 'base64'))
  assert.equal(head.size, 37)
  assert.ok(verifyInclusion(leafHash(record), 17, head.size, hashes, head.root))
  assert.equal(prove('37').status, 1)
  assert.equal(prove('-1').status !== 0 && prove('one').status !== 0, true)
  const segment = join(dir, '00000000.seg')
  const bytes = readFileSync(segment)
  bytes[bytes.indexOf('record 17')] = 0x52
  writeFileSync(segment, bytes)
  assert.notEqual(prove('17').status, 0)
})

test('the control plane’s own shard is verified like any, and never in place of a gateway’s', async (t) => {
  const data = mkdtempSync(join(tmpdir(), 'sp-control-log-'))
  t.after(() => rmSync(data, { recursive: true, force: true }))
  const verify = (...args: readonly string[]): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [BIN, 'audit', 'verify', ...args, '--data', data, '--json'], {
      encoding: 'utf8',
    })
  assert.equal(verify('--control').status, 3)
  const dir = join(data, 'control/log')
  mkdirSync(dir, { recursive: true })
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const origin = 'bank.example/control/c1'
  writeFileSync(join(dir, 'origin'), `${origin}\n`)
  writeFileSync(join(dir, '../log.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
  const log = await openLog({ dir, origin, signer: privateKey, segmentBytes: 8192 })
  for (let i = 0; i < 5; i++) await log.append(Buffer.from(`decision ${i}`))
  await log.close()
  const good = verify('--control')
  assert.equal(good.status, 0, String(good.stderr))
  assert.equal((JSON.parse(String(good.stdout)) as { records: number }).records, 5)
  assert.equal(verify().status, 3)
  const segment = join(dir, '00000000.seg')
  const bytes = readFileSync(segment)
  bytes[bytes.indexOf('decision 3')] = 0x52
  writeFileSync(segment, bytes)
  assert.equal(verify('--control').status, 7)
})
