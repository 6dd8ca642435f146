/** What a clock on the wall shows, as policies read it. */
export interface LocalTime {
  readonly hour: number
  readonly minute: number
  /** 1 = Monday … 7 = Sunday (ISO 8601). */
  readonly weekday: number
  /** `YYYY-MM-DD` */
  readonly date: string
}

const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

/**
 * The clock on the wall of a time zone, daylight saving time included, by the platform's copy of the IANA database.
 *
 * @param timeZone an IANA name
 * @returns milliseconds since the epoch → local time; undefined where the platform knows no such zone
 */
export function localClock(timeZone: string): ((ms: number) => LocalTime) | undefined {
  let format: Intl.DateTimeFormat
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      weekday: 'short',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
    })
  } catch {
    return undefined
  }
  return (ms) => {
    const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, value]))
    const part = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? ''
    return {
      hour: Number(part('hour')),
      minute: Number(part('minute')),
      weekday: WEEKDAYS.indexOf(part('weekday')) + 1,
      date: `${part('year').padStart(4, '0')}-${part('month')}-${part('day')}`,
    }
  }
}
