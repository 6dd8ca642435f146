import type { A2aVersion } from '@sallyport/network'

/** States of a task (A2A 0.3, section 6.3; 1.0, section 4.1.3). */
const STATES = [
  'submitted',
  'working',
  'completed',
  'failed',
  'canceled',
  'input-required',
  'rejected',
  'auth-required',
] as const
export type TaskState = (typeof STATES)[number]

const ended: ReadonlySet<TaskState> = new Set(['completed', 'failed', 'canceled', 'rejected'])

/** Whether nothing more can come of a task. */
export const hasEnded = (state: TaskState): boolean => ended.has(state)

export const isTaskState = (value: unknown): value is TaskState =>
  STATES.some((state) => state === value)

/** A state as a revision writes it; undefined where it is none. */
export function taskStateOf(text: string, version: A2aVersion): TaskState | undefined {
  const plain =
    version === '0.3'
      ? text
      : /^TASK_STATE_[A-Z_]+$/.test(text)
        ? text.slice('TASK_STATE_'.length).toLowerCase().replaceAll('_', '-')
        : undefined
  return isTaskState(plain) ? plain : undefined
}

export const writtenState = (state: TaskState, version: A2aVersion): string =>
  version === '0.3' ? state : `TASK_STATE_${state.toUpperCase().replaceAll('-', '_')}`
