import { object, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'

/** Where an agent is told that a person whom it asked out of band has decided (OpenID Connect CIBA Core 1.0, section 10.2). */
export interface BackchannelPing {
  /** `https://host[:port][/path]`. */
  readonly url: string
  /** PEM of the only CA accepted; absent means the platform’s roots. */
  readonly ca?: string
}

const URL_SHAPE = '^https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?$'
const MAX_URL = 512

/** Of a declaration that came as JSON, whether this is one. */
export function isBackchannelPing(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { url, ca }: { readonly url?: unknown; readonly ca?: unknown } = value
  if (typeof url !== 'string' || url.length > MAX_URL || !new RegExp(URL_SHAPE).test(url))
    return false
  return URL.canParse(url) && (ca === undefined || typeof ca === 'string')
}

/** `agents.NAME.backchannelPing` of network.yaml. */
export const backchannelPingSchema: Schema = object(
  'Where the agent is told that a person decided what it asked out of band (CIBA, ping mode). Nothing else is ever called.',
  ['url'],
  {
    url: {
      type: 'string',
      pattern: URL_SHAPE,
      maxLength: MAX_URL,
      description: '`https://host[:port][/path]`.',
    },
    caFile: text('A PEM file beside network.yaml: the only CA accepted.', 256),
  },
)

/** With the file that it names, read. */
export function resolvePing(
  raw: { readonly url: string; readonly caFile?: string } | undefined,
  pointer: string,
  readPem: (file: string, pointer: string) => string,
): { readonly backchannelPing?: BackchannelPing } {
  if (!raw) return {}
  const { url, caFile } = raw
  const ca = caFile === undefined ? {} : { ca: readPem(caFile, `${pointer}/caFile`) }
  return { backchannelPing: { url, ...ca } }
}
