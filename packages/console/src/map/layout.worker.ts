import { layoutMap } from './layout.ts'
import type { LayoutInput } from './geometry.ts'

self.addEventListener('message', (event: MessageEvent<LayoutInput>) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- workers have none
  self.postMessage(layoutMap(event.data))
})
