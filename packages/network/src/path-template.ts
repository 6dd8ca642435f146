/** Path templates of OpenAPI: whole segments, each a text or one `{parameter}`. */

const isParameter = (segment: string): boolean => segment.startsWith('{')

const segmentsOf = (template: string): string[] => template.split('/').slice(1)

/** Whether some path fits both. */
export function overlap(a: string, b: string): boolean {
  const one = segmentsOf(a)
  const two = segmentsOf(b)
  if (one.length !== two.length) return false
  return one.every((segment, i) => {
    const other = two[i] ?? ''
    return isParameter(segment) || isParameter(other) || segment === other
  })
}

/** Whether every path that fits `general` fits `special` only where `special` says more, or as much. */
export function isSpecialOf(special: string, general: string): boolean {
  const one = segmentsOf(special)
  return segmentsOf(general).every(
    (segment, i) => isParameter(segment) || !isParameter(one[i] ?? ''),
  )
}

/** Whether a path, as its decoded segments, fits a template. */
export function fitsTemplate(template: string, segments: readonly string[]): boolean {
  const parts = segmentsOf(template)
  return (
    parts.length === segments.length &&
    parts.every((part, i) => isParameter(part) || part === segments[i])
  )
}
