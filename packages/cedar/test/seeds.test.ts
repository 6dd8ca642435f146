import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { closeCedar } from '../src/index.ts'
import { runCase } from './fuzz.ts'
import type { Case } from './fuzz.ts'

after(closeCedar)

const FOLDER = join(import.meta.dirname, 'seeds')

describe('what the fuzzer found stays mended', () => {
  const files = globSync('*.json', { cwd: FOLDER }).toSorted()

  it('has seeds to replay', () => {
    assert.ok(files.length > 0)
  })

  for (const file of files) {
    // Written by `tools/fuzz-cedar.ts --keep` and by hand, in the form of a case.
    const { case: tried, note } = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as {
      case: Case
      note?: string
    }
    it(note ?? file, async () => {
      assert.equal(await runCase(tried), undefined)
    })
  }
})
