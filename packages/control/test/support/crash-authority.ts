/**
 * Opens a signing authority, rotates it once and forgets what expired, and is killed at the given operation on files (0: never).
 * Prints how many operations one rotation takes.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { argv } from 'node:process'

const [, , folder = '', rootFile = '', keyFile = '', at = '0'] = argv
const NAMES = ['writeFileSync', 'renameSync', 'fsyncSync', 'rmSync'] as const
const material = { pem: fs.readFileSync(rootFile, 'utf8'), key: fs.readFileSync(keyFile, 'utf8') }
let done = 0
const patch = (name: (typeof NAMES)[number]): void => {
  // One signature for all four: they are only passed on.
  const real = fs[name] as (...args: readonly unknown[]) => unknown
  const counted = (...args: readonly unknown[]): unknown => {
    done++
    if (String(done) !== at) return real(...args)
    // A write is torn in its middle; every other operation does not happen.
    if (name === 'writeFileSync') real(args[0], String(args[1]).slice(0, 40), args[2])
    process.kill(process.pid, 'SIGKILL')
    return undefined
  }
  Object.assign(fs, { [name]: counted })
}
for (const name of NAMES) patch(name)
syncBuiltinESMExports()

const { createPrivateKey, createPublicKey, sign } = await import('node:crypto')
const { openAuthority } = await import('../../src/authority/authority.ts')
const { fileKeys } = await import('../../src/authority/keys.ts')
const key = createPrivateKey(material.key)
let now = Date.now()
const authority = openAuthority({
  folder,
  keys: fileKeys(folder),
  root: {
    certificatePem: material.pem,
    signer: { publicKey: createPublicKey(key), sign: (data) => sign('sha256', data, key) },
  },
  clock: { now: () => now, monotonic: () => now },
  lifeSeconds: 3600,
})
for (const share of [0.51, 0.33]) {
  now += share * 3_600_000
  authority.tick()
}
// Forgetting is one change of the state; what follows it repeats what came before.
process.stdout.write(String(done + 3))
now += 0.17 * 3_600_000
authority.tick()
