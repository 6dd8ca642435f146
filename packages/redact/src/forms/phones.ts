import type { Draw } from './draw.ts'

/**
 * Numbers that regulators keep for films and books, so that nobody ever has them, without the prefix of the country. `#` is any
 * figure, `N` one from 2, `E` one below 9.
 */
const NORTH_AMERICA = 'NE#55501##' // ATIS 0300115: 555-0100 to 555-0199 of every area
const BRITAIN = '1632960###' // Ofcom: no area at all
const BRITAIN_MOBILE = '7700900###'
/** Bundesnetzagentur, Mitteilung 148/2021: Berlin, Frankfurt, Hamburg, Köln, München. */
const GERMANY = ['3023125###', '6990009###', '4066969###', '2214710###', '8999998###']
/** Arcep, plan de numérotation: by the first figure of the number. */
const FRANCE: Readonly<Record<string, string>> = {
  1: '19900####',
  2: '26191####',
  3: '35301####',
  4: '46571####',
  5: '53649####',
  6: '63998####',
  7: '63998####',
}
/** As numbers of North America are written without their country, and hardly any other. */
const NORTH_AMERICAN =
  /^\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}$|^1[ .-]\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}$/

/** What a telephone number may become, by its country and its length; undefined where no such range fits. */
export function phoneTemplates(text: string, figures: string): readonly string[] | undefined {
  const plus = /^\(?\+/.test(text)
  const zeros = !plus && figures.startsWith('00') ? '00' : ''
  if (!plus && zeros === '') {
    if (!NORTH_AMERICAN.test(text)) return undefined
    return [figures.length === 11 ? `1${NORTH_AMERICA}` : NORTH_AMERICA]
  }
  const number = figures.slice(zeros.length)
  const country = number.startsWith('1') ? '1' : number.slice(0, 2)
  const national = number.slice(country.length)
  return nationalTemplates(country, national)?.map((one) => zeros + country + one)
}

function nationalTemplates(country: string, national: string): readonly string[] | undefined {
  const fitting = (templates: readonly (string | undefined)[]): readonly string[] | undefined => {
    const found = templates.filter((one) => one !== undefined && one.length === national.length)
    // Of those that are left none is undefined.
    return found.length > 0 ? (found as string[]) : undefined
  }
  if (country === '1') return fitting([NORTH_AMERICA])
  if (country === '44') return fitting([national.startsWith('7') ? BRITAIN_MOBILE : BRITAIN])
  if (country === '49') return fitting(GERMANY)
  if (country === '33') return fitting([FRANCE[national.charAt(0)]])
  return undefined
}

const FIGURES: Readonly<Record<string, string>> = {
  '#': '0123456789',
  N: '23456789',
  E: '012345678',
}

/** A number by one of the templates. */
export function drawPhone(templates: readonly string[], draw: Draw): string {
  const template = templates[draw.below(templates.length)] ?? ''
  return template.replaceAll(/[#NE]/g, (c) => draw.oneOf(FIGURES[c] ?? ''))
}
