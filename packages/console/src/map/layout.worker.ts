import { layoutMap } from './layout.ts'
import type { LayoutInput } from './geometry.ts'

self.addEventListener('message', (event: MessageEvent<LayoutInput>) => {
  self.postMessage(layoutMap(event.data))
})
