/** A process to kill: appends until it dies and prints each acknowledged index. */
import { createPrivateKey } from 'node:crypto'
import { readFileSync, writeSync } from 'node:fs'
import { openLog } from '../../src/index.ts'

const [dir = '', origin = '', keyFile = ''] = process.argv.slice(2)
const log = await openLog({
  dir,
  origin,
  signer: createPrivateKey(readFileSync(keyFile)),
  segmentBytes: 65_536,
  checkpointEveryMs: 5,
})
writeSync(1, `size ${log.size}\n`)
for (;;) {
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      const { index } = await log.append(Buffer.from(`record of ${process.pid}`.padEnd(300, '.')))
      writeSync(1, `ack ${index}\n`)
    }),
  )
}
