import { binary } from './binary.ts'
import { http } from './http.ts'
import type { Kind } from './reading.ts'
import { texts } from './texts.ts'

/** All parts that judge what others wrote, each beside another reader. */
export const KINDS: readonly Kind[] = [...http, ...texts, ...binary]
export { readTwice } from './reading.ts'
