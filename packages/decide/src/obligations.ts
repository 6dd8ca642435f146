import type { FieldTreatment } from './types.ts'

const OBLIGATION = /^(mask|tokenise|drop):([^\s:;.]+\.[^\s:;.]+)$/

/**
 * Reads an `@obligation`: `mask:DATASET.FIELD`, `tokenise:…` and `drop:…`, several joined by `;`. Undefined for
 * anything else: an obligation that is not understood cannot be met.
 */
export function parseObligation(
  text: string,
): [field: string, treatment: FieldTreatment][] | undefined {
  const parts: [string, FieldTreatment][] = []
  for (const part of text.split(';')) {
    const match = OBLIGATION.exec(part.trim())
    if (!match) return undefined
    // The expression lets only these three verbs through.
    parts.push([match[2] ?? '', match[1] as FieldTreatment])
  }
  return parts
}
