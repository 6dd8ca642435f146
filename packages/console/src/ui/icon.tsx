import type { ReactNode } from 'react'

/** Drawn on a 16-unit grid with a 1.5 stroke; decorative always: the text beside it says the same. */
const PATHS = {
  gate: 'M2.5 14V7a5.5 5.5 0 0 1 11 0v7M6.2 14V8.2M9.8 14V8.2',
  map: 'M3 4.5h3v3H3zM10 2.5h3v3h-3zM10 10.5h3v3h-3zM6 6h2.2a1 1 0 0 0 1-1V4H10M6 6.5h2.2a1 1 0 0 1 1 1V12H10',
  list: 'M2.5 4h11M2.5 8h11M2.5 12h7',
  mandate: 'M4 2.5h6.500l2 2v9H4zM6.500 6h3.500M6.500 8.500h3.500M6.500 11h2',
  stamp: 'M5.5 9.5 6.3 5a1.9 1.9 0 1 1 3.4 0l.8 4.5M3 9.5h10v2.2H3zM4 14h8',
  agent:
    'M5 2.5h6v5H5zM8 7.5V10M3 13.5v-1a2.5 2.5 0 0 1 2.5-2.5h5a2.5 2.5 0 0 1 2.5 2.5v1M6.8 5h.01M9.2 5h.01',
  incident: 'M8 2.2 14.2 13H1.8zM8 6.4v3M8 11.2v.1',
  network:
    'M8 2.5a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2M3.6 10.3a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2M12.4 10.3a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2M7.2 5.5 4.4 10.4M8.8 5.5l2.8 4.9M5.2 12h5.6',
  system: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01',
  allow: 'M3 8.5 6.5 12 13 4.5',
  deny: 'M4 4l8 8M12 4l-8 8',
  forbid: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M3.8 3.8l8.4 8.4',
  absent: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M5 8h6',
  broken: 'M8 2.2 14.2 13H1.8zM8 6.4v3M8 11.2v.1',
  needs: 'M5 2.5h6M5 13.5h6M5.5 2.5v2.2L8 8l2.5-3.3V2.5M5.5 13.5v-2.2L8 8l2.5 3.3v2.2',
  noflow: 'M2 8h3.5M10.5 8H14M6.5 5l3 6',
  branch: 'M4 2.500v7h8M9.500 7 12 9.500 9.500 12',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9',
  moon: 'M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8',
  auto: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M8 2.5v11M8 5h4.6M8 8h5.5M8 11h4.6',
  key: 'M5 5.3a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4M7.7 8h6.5M12 8v2.6M14.2 8v1.8',
  person: 'M8 2.5a2.6 2.6 0 1 0 0 5.2 2.6 2.6 0 0 0 0-5.2M3 13.5c.4-2.6 2.3-4 5-4s4.6 1.4 5 4',
  close: 'M4 4l8 8M12 4l-8 8',
  chevron: 'M6 3.5 10.5 8 6 12.5',
  down: 'M4 6.5 8 10.500l4-4',
  lock: 'M4 7.500h8v6H4zM5.5 7.500V5a2.5 2.5 0 0 1 5 0v2.5',
  pause: 'M5.5 3.500v9M10.5 3.500v9',
  play: 'M5 3.200v9.600L12.5 8z',
  refresh: 'M13 8a5 5 0 1 1-1.6-3.700M13 2.500v2.800h-2.8',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, size = 16 }: { name: IconName; size?: number }): ReactNode {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
