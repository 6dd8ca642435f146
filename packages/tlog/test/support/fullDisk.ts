/** Runs inside a mount namespace whose log directory is a tmpfs of 256 KiB: fills it and reports. */
import { generateKeyPairSync } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '@sallyport/base'
import { openLog } from '../../src/index.ts'
import { ORIGIN } from './logs.ts'

const [dir = ''] = process.argv.slice(2)
const { privateKey } = generateKeyPairSync('ed25519')
const filler = join(dir, 'filler')
writeFileSync(filler, Buffer.alloc(64 * 1024))
const log = await openLog({ dir, origin: ORIGIN, signer: privateKey, segmentBytes: 65_536 })
let acknowledged = 0
const attempt = async (): Promise<string> => {
  try {
    for (;;) {
      await log.append(Buffer.alloc(1000, 65))
      acknowledged++
    }
  } catch (error) {
    return errorCode(error)
  }
}
const first = await attempt()
rmSync(filler)
const second = await attempt()
const { failed } = log
await log.close()
const again = await openLog({ dir, origin: ORIGIN, signer: privateKey, segmentBytes: 65_536 })
process.stdout.write(JSON.stringify({ first, second, failed, acknowledged, recovered: again.size }))
await again.close()
