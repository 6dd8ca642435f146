export { RingFinder } from './finder.ts'
export { AMLSIM_SETTINGS, STREAM_SETTINGS } from './types.ts'
export type { FoundRing } from './types.ts'
