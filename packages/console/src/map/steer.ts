interface Stop {
  readonly id: string
  readonly x: number
  readonly y: number
}

const DIRECTIONS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowDown: [0, 1],
  ArrowUp: [0, -1],
}

/**
 * The stop that an arrow key leads to: the nearest one in that direction, where straying sideways counts double. From nowhere,
 * any arrow leads to the top left. `undefined` where the key is none of ours or nothing lies that way.
 */
export function nearest(stops: readonly Stop[], from: string, key: string): string | undefined {
  const direction = DIRECTIONS[key]
  if (!direction) return undefined
  const here = stops.find(({ id }) => id === from)
  if (!here) return stops.toSorted((a, b) => a.x - b.x || a.y - b.y)[0]?.id
  const [dx, dy] = direction
  let best: { id: string; cost: number } | undefined
  for (const stop of stops) {
    const x = stop.x - here.x
    const y = stop.y - here.y
    const ahead = x * dx + y * dy
    const aside = Math.abs(x * dy) + Math.abs(y * dx)
    if (stop === here || ahead <= 4) continue
    // The gateway spans the whole height: crossing to it never counts as straying.
    const cost = ahead + 2 * (stop.id === 'gate' && dx !== 0 ? 0 : aside)
    if (!best || cost < best.cost) best = { id: stop.id, cost }
  }
  return best?.id
}
