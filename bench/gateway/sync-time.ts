import { open } from 'node:fs/promises'
import { percentile } from '../row.ts'

/** How long a kilobyte takes to be written and synced: median, milliseconds. */
export async function syncTime(path: string): Promise<number> {
  const file = await open(path, 'a')
  const times: number[] = []
  const bytes = Buffer.alloc(1024, 0x61)
  for (let i = 0; i < 200; i++) {
    const from = performance.now()
    await file.write(bytes)
    await file.datasync()
    times.push(performance.now() - from)
  }
  await file.close()
  return percentile(times, 0.5)
}
