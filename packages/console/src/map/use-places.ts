import { useCallback, useEffect, useState } from 'react'
import { keepPlaces } from './geometry.ts'
import type { LayoutInput, Positions } from './geometry.ts'

interface Places {
  /** Undefined until the first layout is there. */
  readonly places: Positions | undefined
  readonly move: (id: string, x: number, y: number) => void
  readonly reset: () => void
}

/** Where the nodes stand: as last seen in this browser, and laid out off the main thread where they are new. */
export function usePlaces(key: string, input: LayoutInput): Places {
  const storageKey = `sallyport:map:${key}`
  const [places, setPlaces] = useState<Positions>()
  const [generation, setGeneration] = useState(0)
  const signature = input.nodes.map(({ id }) => id).join('\n')

  useEffect(() => {
    const known = read(storageKey)
    if (input.nodes.every(({ id }) => known[id])) {
      setPlaces(known)
      return
    }
    const worker = new Worker(new URL('layout.worker.ts', import.meta.url), { type: 'module' })
    worker.addEventListener('message', (event: MessageEvent<Positions>) => {
      const kept = keepPlaces(known, event.data)
      write(storageKey, { ...known, ...kept })
      setPlaces(kept)
      worker.terminate()
    })
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- workers have none
    worker.postMessage(input)
    return () => worker.terminate()
    // The signature stands for `input`: links alone move nothing.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [storageKey, signature, generation])

  const move = useCallback(
    (id: string, x: number, y: number) => {
      setPlaces((before) => {
        const next = { ...before, [id]: { x: Math.round(x), y: Math.round(y) } }
        write(storageKey, { ...read(storageKey), ...next })
        return next
      })
    },
    [storageKey],
  )
  const reset = useCallback(() => {
    write(storageKey, {})
    setGeneration((n) => n + 1)
  }, [storageKey])
  return { places, move, reset }
}

function read(key: string): Positions {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? '{}')
    if (typeof value !== 'object' || value === null) return {}
    return Object.fromEntries(
      Object.entries(value).filter(
        ([, place]: [string, unknown]) =>
          typeof place === 'object' &&
          place !== null &&
          Number.isFinite(Reflect.get(place, 'x')) &&
          Number.isFinite(Reflect.get(place, 'y')),
      ),
    )
  } catch {
    return {}
  }
}

function write(key: string, places: Positions): void {
  try {
    localStorage.setItem(key, JSON.stringify(places))
  } catch {
    // Storage may be refused or full; the places then last as long as the page.
  }
}
