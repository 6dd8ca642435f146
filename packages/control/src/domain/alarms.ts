import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Store, Tx } from '../store/store.ts'
import type { Events } from './events.ts'
import { storable } from './text.ts'

const SHOWN = 200

export interface Alarm {
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly kind: 'session-reused' | 'code-reused' | 'recovery' | 'break-glass' | 'token-reused'
  readonly operator: string
  readonly text: string
}

/** What people have to be told of, whether or not anybody is listening. */
export interface Alarms {
  /** Newest first, at most 200. */
  list(): Promise<readonly Alarm[]>
}

export interface AlarmBell extends Alarms {
  /** Written down, and then told to whoever listens. */
  raise(input: Pick<Alarm, 'kind' | 'operator' | 'text'>, tx?: Tx): Promise<void>
}

export function createAlarms(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly events: Events
}): AlarmBell {
  const { store, clock, events } = deps
  return {
    list: () =>
      store.run((db) =>
        db.selectFrom('alarms').selectAll().orderBy('at', 'desc').limit(SHOWN).execute(),
      ),
    async raise({ kind, operator, text }, tx) {
      const at = clock.now()
      const alarm: Alarm = { id: newId('alm', at), at, kind, operator, text: storable(text) }
      const write = (db: Pick<Tx, 'insertInto'>) => db.insertInto('alarms').values(alarm).execute()
      await (tx ? write(tx) : store.run(write))
      events.publish('alarm', alarm)
    },
  }
}
