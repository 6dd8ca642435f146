import { join } from 'node:path'
import { canonicalJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { TrustPins } from '@sallyport/wire'
import { isObject } from '../adapters/jsonrpc.ts'
import { readJsonFile, writeDurably } from '../state/files.ts'

const FILE = 'pins.json'

export interface PinsOptions {
  readonly dataDir: string
  readonly trustPins?: TrustPins
  readonly pinsFile?: string
}

export interface Pinned {
  readonly pins: TrustPins
  /**
   * Roots that were given by hand on a later start. A gateway that missed a whole change of roots reaches the control plane by them,
   * to enrol and to be shown the bundle whose signatures decide; nothing else is verified by them.
   */
  readonly offeredRoots: string | undefined
}

/**
 * What this gateway trusts, pinned on its first start and never replaced after.
 *
 * @throws SallyportError `SP_GATEWAY_PINS` where there are none, or others than were pinned
 */
export async function loadPins(options: PinsOptions): Promise<Pinned> {
  const path = join(options.dataDir, FILE)
  const kept = await readJsonFile(path)
  const given =
    options.trustPins ??
    (options.pinsFile === undefined ? undefined : asPins(await pinsIn(options.pinsFile)))
  if (kept === undefined) {
    if (!given) throw wrong('no trust pins were given', 'give the `pins.json` of the trust root')
    await writeDurably(path, canonicalJson(given))
    return { pins: given, offeredRoots: undefined }
  }
  const pins = asPins(kept)
  // Roots follow what quorums sign, in bundles; the file that is given has those of its day.
  if (given && canonicalJson({ ...given, roots: pins.roots }) !== canonicalJson(pins)) {
    throw wrong(
      'they differ from those that this gateway pinned',
      'enrol the gateway anew in an empty directory if the trust root was really replaced',
    )
  }
  return { pins, offeredRoots: given?.roots }
}

async function pinsIn(file: string): Promise<JsonValue> {
  const value = await readJsonFile(file)
  if (value !== undefined) return value
  throw wrong(`\`${file}\` is not there`, 'put the `pins.json` of the trust root there')
}

function asPins(value: JsonValue | undefined): TrustPins {
  const text = (name: keyof TrustPins): string => {
    const member = isObject(value) ? value[name] : undefined
    if (typeof member === 'string' && member !== '') return member
    throw wrong(`\`${name}\` is missing`, 'give the `pins.json` of the trust root')
  }
  return {
    trustDomain: text('trustDomain'),
    bundleKey: text('bundleKey'),
    genesisKey: text('genesisKey'),
    genesisDigest: text('genesisDigest'),
    roots: text('roots'),
  }
}

function wrong(detail: string, fix: string): SallyportError {
  return new SallyportError('SP_GATEWAY_PINS', 'the trust pins cannot be used', { detail, fix })
}
