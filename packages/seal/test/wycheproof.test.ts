import assert from 'node:assert/strict'
import { createSecretKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { decrypt } from '../src/cipher.ts'

const ROOT = process.env['SALLYPORT_DATA'] ?? join(import.meta.dirname, '../../../../shared/data')
const FILE = join(ROOT, 'wycheproof/aes_gcm_test.json')
const skip = !existsSync(FILE) && 'no vectors: set SALLYPORT_DATA'

interface Vector {
  readonly tcId: number
  readonly key: string
  readonly iv: string
  readonly aad: string
  readonly msg: string
  readonly ct: string
  readonly tag: string
  readonly result: 'valid' | 'invalid'
}
interface Group {
  readonly keySize: number
  readonly ivSize: number
  readonly tagSize: number
  readonly tests: readonly Vector[]
}

const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex')
const open = ({ key, iv, ct, aad }: Vector, tag: Buffer): Buffer =>
  decrypt(createSecretKey(bytes(key)), bytes(iv), Buffer.concat([bytes(ct), tag]), bytes(aad))

/** C2SP/wycheproof, Apache-2.0: `testvectors_v1/aes_gcm_test.json`. */
test(
  'wycheproof: AES-256-GCM with 96-bit IVs opens what is valid; all else is refused, other sizes too',
  { skip },
  () => {
    const { testGroups } = JSON.parse(readFileSync(FILE, 'utf8')) as {
      readonly testGroups: readonly Group[]
    }
    const counts = { opened: 0, refused: 0, otherSizes: 0 }
    for (const { keySize, ivSize, tagSize, tests } of testGroups) {
      const ours = keySize === 256 && ivSize === 96 && tagSize === 128
      for (const vector of tests) {
        const tag = bytes(vector.tag)
        if (ours && vector.result === 'valid') {
          assert.deepEqual(open(vector, tag), bytes(vector.msg), `tcId ${vector.tcId}`)
          counts.opened++
          // A shorter tag is easier to guess (NIST SP 800-38D, appendix C): none is taken.
          for (let length = 0; length < 16; length++) {
            assert.throws(() => open(vector, tag.subarray(0, length)), `tcId ${vector.tcId}`)
          }
        } else {
          assert.throws(() => open(vector, tag), `tcId ${vector.tcId}`)
          if (ours) counts.refused++
          else counts.otherSizes++
        }
      }
    }
    assert.ok(
      counts.opened > 30 && counts.refused > 20 && counts.otherSizes > 200,
      JSON.stringify(counts),
    )
  },
)
