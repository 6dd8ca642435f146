export { replay } from './replay/replay.ts'
export type { ChangeGroup, ReplayReport, Verdict } from './replay/types.ts'
