import { closeCedar, EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import type { PolicySet } from '@sallyport/cedar'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { uid } from './sparse.ts'

const RUNS = 5
const LOADED = 1000
/** Decisions go on for as long after the set was swapped. */
const AFTER_MS = 100
const IDLE_MS = 500

/** The longest times of a stretch of decisions, in milliseconds. */
interface Longest {
  decisions: number
  decision: number
  /** From the end of one decision to the end of the next: whatever held the thread in between. */
  gap: number
  /** The same in this thread's processor time: other processes of the machine do not count. */
  cpuGap: number
}

interface Loads {
  readonly times: readonly number[]
  readonly longest: Longest
}

/**
 * Decides without a pause while 1,000 policies are parsed and compiled beside it and then take the place of those decided
 * by; then the same with a schema, against which they are type-checked first. Nothing is left out of the longest times; what the
 * machine itself adds is told by a stretch without a load.
 */
export async function loading(): Promise<Row[]> {
  const live = await loadPolicySet({ policies: policies(100, 'live') })
  const idle = await stretch(live, () => new Promise((done) => setTimeout(done, IDLE_MS)))
  const plain = await loads(live, {})
  const typed = await loads(live, { schema: SCHEMA })
  return [
    bounded('1,000 policies loaded cold beside decisions', median(plain.times), 'ms', '<=', 1000),
    ...rows(plain.longest),
    stated('the same load with a schema', median(typed.times), 'ms'),
    ...rows(typed.longest),
    stated('longest time with nothing loaded, what the machine adds', idle.gap, 'ms'),
  ]
}

function rows({ decisions, decision, gap, cpuGap }: Longest): Row[] {
  return [
    stated('decisions in the meantime, five runs', decisions, 'decisions'),
    bounded('slowest decision in the meantime', decision, 'ms', '<=', 5),
    bounded('longest time from decision to decision, the swap included', gap, 'ms', '<=', 5),
    // The kernel may count it in ticks of 4 ms, too coarse to be held to a bound.
    stated('the same, processor time', cpuGap, 'ms'),
  ]
}

async function loads(live: PolicySet, extra: { readonly schema?: string }): Promise<Loads> {
  const times: number[] = []
  const longest: Longest = { decisions: 0, decision: 0, gap: 0, cpuGap: 0 }
  for (let run = 0; run < RUNS; run++) {
    // Cold: the parser's thread has to start, too.
    await closeCedar()
    const fresh = policies(LOADED, `run${run}`)
    const started = performance.now()
    const of = await stretch(live, async (swap) => {
      const next = await loadPolicySet({ policies: fresh, ...extra })
      times.push(performance.now() - started)
      swap(next)
      await new Promise((done) => setTimeout(done, AFTER_MS))
    })
    longest.decisions += of.decisions
    for (const what of ['decision', 'gap', 'cpuGap'] as const) {
      longest[what] = Math.max(longest[what], of[what])
    }
  }
  return { times, longest }
}

const SCHEMA = `entity Team, Zone;
entity Agent in [Team];
entity System in [Zone] { owner: String };
action read, write appliesTo { principal: Agent, resource: System, context: { amount: Long, risk: Long } };`

/** Each set has a policy that the requests meet, and which says whose answer it was. */
function policies(count: number, name: string): { id: string; source: string }[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `${name}.${i}`,
    source: `permit(principal in Team::"t${i}", action == Action::"read", resource in Zone::"z${i % 10}")
when { context.amount <= ${100_000 + i} && context.risk < 70 && resource.owner == "o${i % 7}" };`,
  }))
}

/** Decides, once a turn of the event loop, while `work` is under way. */
async function stretch(
  live: PolicySet,
  work: (swap: (next: PolicySet) => void) => Promise<void>,
): Promise<Longest> {
  const store = EntityStore.from([
    { uid: uid('Agent', 'a'), attrs: {}, parents: [uid('Team', 't7')] },
    { uid: uid('System', 's'), attrs: { owner: 'o0' }, parents: [uid('Zone', 'z7')] },
  ])
  const request = {
    principal: uid('Agent', 'a'),
    action: uid('Action', 'read'),
    resource: uid('System', 's'),
    context: prepareContext({ amount: 5, risk: 1 }),
  }
  const longest: Longest = { decisions: 0, decision: 0, gap: 0, cpuGap: 0 }
  let set = live
  let done = false
  let [last, lastCpu] = [performance.now(), cpuMs()]
  const turn = (): void => {
    const start = performance.now()
    const { decision } = set.decide(request, store)
    const [end, cpu] = [performance.now(), cpuMs()]
    if (decision !== 'allow') throw new Error('the workload is wrong')
    longest.decisions++
    longest.decision = Math.max(longest.decision, end - start)
    longest.gap = Math.max(longest.gap, end - last)
    longest.cpuGap = Math.max(longest.cpuGap, cpu - lastCpu)
    ;[last, lastCpu] = [end, cpu]
    if (!done) setImmediate(turn)
  }
  turn()
  await work((next) => {
    set = next
  })
  done = true
  return longest
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
