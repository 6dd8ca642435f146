/**
 * Opens a signing authority, rotates it once and forgets what expired, and is killed at the given operation on files (0: never).
 * Prints how many operations one rotation takes, or by its clock when it was killed. Where another root is named, it changes over to that instead.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { argv } from 'node:process'

const [, , folder = '', rootFile = '', keyFile = '', at = '0', nextFile, nextKey = ''] = argv
const load = (certificate: string, key: string) => ({
  pem: fs.readFileSync(certificate, 'utf8'),
  key: fs.readFileSync(key, 'utf8'),
})
const material = load(rootFile, keyFile)
const next = nextFile === undefined ? undefined : load(nextFile, nextKey)
let done = 0
let now = Date.now()
/** @param torn does the first half of a write, where it is one */
function step(torn: () => void = () => undefined): void {
  done++
  if (String(done) !== at) return
  torn()
  // By its own clock, which is ahead.
  fs.writeSync(1, ` ${now}`)
  process.kill(process.pid, 'SIGKILL')
}

const { writeFileSync, renameSync, fsyncSync } = fs
fs.writeFileSync = (file, data, options) => {
  step(() => {
    if (typeof data === 'string') writeFileSync(file, data.slice(0, 40), options)
  })
  writeFileSync(file, data, options)
}
fs.renameSync = (from, to) => {
  step()
  renameSync(from, to)
}
fs.fsyncSync = (handle) => {
  step()
  fsyncSync(handle)
}
// Keys are written by the provider, which opens, writes and syncs their files, and syncs the folder.
const { open, rm } = fs.promises
fs.promises.open = async (...args) => {
  if (args[1] === 'wx') step()
  const file = await open(...args)
  const writeFile = file.writeFile.bind(file)
  const sync = file.sync.bind(file)
  file.writeFile = async (data, options) => {
    step(() => {
      if (typeof data === 'string') fs.writeSync(file.fd, data.slice(0, 40))
    })
    await writeFile(data, options)
  }
  file.sync = async () => {
    step()
    await sync()
  }
  return file
}
fs.promises.rm = async (...args) => {
  step()
  await rm(...args)
}
syncBuiltinESMExports()

const { createPrivateKey, createPublicKey, sign } = await import('node:crypto')
const { softwareKeys } = await import('@sallyport/seal')
const { openAuthority } = await import('../../src/authority/authority.ts')
const { providedKeys } = await import('../../src/authority/keys.ts')
const rootBy = ({ pem, key }: typeof material) => {
  const read = createPrivateKey(key)
  const signer = {
    publicKey: createPublicKey(read),
    sign: (data: Uint8Array) => sign('sha256', data, read),
  }
  return { certificatePem: pem, signer }
}
const authority = await openAuthority({
  folder,
  keys: providedKeys(softwareKeys({ dir: folder }), ''),
  root: rootBy(material),
  clock: { now: () => now, monotonic: () => now },
  lifeSeconds: 3600,
})
if (next) {
  await authority.useRoot(rootBy(next))
  process.stdout.write(String(done))
  process.exit()
}
for (const share of [0.51, 0.33]) {
  now += share * 3_600_000
  await authority.tick()
}
// Forgetting is one change of the state; what follows it repeats what came before.
process.stdout.write(String(done + 3))
now += 0.17 * 3_600_000
await authority.tick()
