import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { verifyLog } from '@sallyport/tlog'
import type { Verification } from '@sallyport/tlog'
import { decodeRecord } from '@sallyport/wire'
import type { AuditRecord } from '@sallyport/wire'

export interface ReadLog extends Verification {
  readonly all: readonly AuditRecord[]
}

/** Verifies a gateway's log offline and reads it. */
export function readLog(gatewayDir: string): Promise<ReadLog> {
  return new LogReader(gatewayDir).read()
}

/** Verifies a log again and again as it grows, and fails where a record that was there is gone or another. */
export class LogReader {
  readonly #gatewayDir: string
  readonly #bytes: Buffer[] = []
  readonly #records: AuditRecord[] = []

  constructor(gatewayDir: string) {
    this.#gatewayDir = gatewayDir
  }

  async read(): Promise<ReadLog> {
    const dir = join(this.#gatewayDir, 'log')
    const before = this.#bytes.length
    const result = await verifyLog({
      dir,
      origin: readFileSync(join(dir, 'origin'), 'utf8').trim(),
      publicKey: createPublicKey(readFileSync(join(this.#gatewayDir, 'log.pub'))),
      onRecord: (index, bytes) => {
        const known = this.#bytes[index]
        if (known) {
          assert.ok(known.equals(bytes), `record ${index} is not what it was`)
          return
        }
        // What is read is a view of a whole segment.
        this.#bytes[index] = Buffer.from(bytes)
        this.#records[index] = decodeRecord(bytes)
      },
    })
    assert.ok(result.records >= before, `of ${before} records ${result.records} are left`)
    return { ...result, all: this.#records }
  }
}
