/**
 * Loaded ahead of each test file by `npm test`: property tests try the same cases in every run, so that a run that fails does so again,
 * and is about what was changed. `SALLYPORT_SEED=random` lets them try others, a number those of that seed; so does a file run by itself.
 */
import { readFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

const SEED = 20_261_126

const { SALLYPORT_SEED: asked = String(SEED) } = process.env
const [, file = ''] = process.argv
// Most files have no property, and need not wait for the library.
if (
  isMainThread &&
  asked !== 'random' &&
  file.endsWith('.ts') &&
  readFileSync(file).includes("'fast-check'")
) {
  const seed = Number(asked)
  if (!Number.isInteger(seed))
    throw new TypeError(`SALLYPORT_SEED is \`${asked}\`: an integer, or \`random\``)
  const { default: fc } = await import('fast-check')
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed })
}
