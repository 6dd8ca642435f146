import { useSyncExternalStore } from 'react'

/** As in the styles: from here on the menu is below and rows have two lines. */
const narrow = matchMedia('(max-width: 820px)')

function subscribe(tell: () => void): () => void {
  narrow.addEventListener('change', tell)
  return () => narrow.removeEventListener('change', tell)
}

/** Whether the window is a narrow one, now and when it changes. */
export const useNarrow = (): boolean => useSyncExternalStore(subscribe, () => narrow.matches)
