/** Sizes and places on the map, apart from `layout.ts` so that dagre is loaded by the worker alone. */
export const NODE_WIDTH = 182
export const NODE_HEIGHT = 38
export const GATE_WIDTH = 84
export const GAP_X = 12
export const GAP_Y = 9
export const ZONE = { top: 30, side: 12, bottom: 12 } as const

interface LayoutNode {
  readonly id: string
  readonly zone: string
  readonly side: 'left' | 'right'
}

export interface LayoutInput {
  readonly nodes: readonly LayoutNode[]
  readonly links: readonly (readonly [string, string])[]
}

export type Positions = Readonly<Record<string, { readonly x: number; readonly y: number }>>

/** Keeps every place that is already known and finds free ones for what is new, so that a change moves nothing else. */
export function keepPlaces(known: Positions, fresh: Positions): Positions {
  const result: Record<string, { x: number; y: number }> = {}
  for (const id of Object.keys(fresh)) {
    const old = known[id]
    if (old) result[id] = old
  }
  for (const [id, place] of Object.entries(fresh)) {
    if (result[id]) continue
    let { x, y } = place
    const taken = (): boolean =>
      Object.values(result).some(
        (other) => Math.abs(other.x - x) < NODE_WIDTH && Math.abs(other.y - y) < NODE_HEIGHT,
      )
    while (taken()) y += NODE_HEIGHT + GAP_Y
    result[id] = { x, y }
  }
  return result
}

export interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** The box around a segment's nodes. */
export function zoneBox(places: readonly { readonly x: number; readonly y: number }[]): Box {
  const left = Math.min(...places.map(({ x }) => x)) - ZONE.side
  const top = Math.min(...places.map(({ y }) => y)) - ZONE.top
  return {
    x: left,
    y: top,
    width: Math.max(...places.map(({ x }) => x)) + NODE_WIDTH + ZONE.side - left,
    height: Math.max(...places.map(({ y }) => y)) + NODE_HEIGHT + ZONE.bottom - top,
  }
}
