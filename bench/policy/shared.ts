import { EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import type { EntityJson, EntityUid } from '@sallyport/cedar'
import { statefulOracle } from '../../packages/cedar/test/oracle.ts'
import { uid } from './sparse.ts'
import type { Workload } from './timing.ts'

/** Entities of each kind, and requests; the published evaluation goes up to 50 of a kind. */
const EACH = 50
const REQUESTS = 200

interface Model {
  readonly policies: readonly string[]
  readonly entities: readonly EntityJson[]
  /** Each action with the types of resource it is asked for. */
  readonly asks: readonly (readonly [action: string, resource: string])[]
}

/**
 * Workloads of the shape of those in Cedar's OOPSLA 2024 evaluation: shared drives, code hosting, to-do lists. Written
 * anew from the ideas of the published schemas. Every answer is cedar-wasm's.
 */
export async function sharing(name: 'gdrive' | 'github' | 'tinytodo'): Promise<Workload> {
  const random = seeded(7)
  const { policies, entities, asks } = { gdrive, github, tinytodo }[name](random)
  const sources = policies.map((source, i) => ({ id: `p${i}`, source }))
  const set = await loadPolicySet({ policies: sources })
  const store = EntityStore.from(entities)
  const none = prepareContext({})
  const plain = Array.from({ length: REQUESTS }, () => {
    const [action, resource] = asks[random(asks.length)] ?? ['', '']
    return {
      principal: uid('User', `${random(EACH)}`),
      action: uid('Action', action),
      resource: uid(resource, `${random(EACH)}`),
    }
  })
  const oracle = statefulOracle(sources)
  let allowed = 0
  for (const request of plain) {
    const { decision } = set.decide({ ...request, context: none }, store)
    if (decision !== oracle({ ...request, context: {} }, entities)) {
      throw new Error(`${name}: the oracle disagrees`)
    }
    if (decision === 'allow') allowed++
  }
  // Where hardly anything, or nearly everything, is allowed, little is decided.
  if (allowed < REQUESTS / 10 || allowed > (REQUESTS * 9) / 10) {
    throw new Error(`${name}: ${allowed} allowed`)
  }
  return { set, store, requests: plain.map((request) => ({ ...request, context: none })) }
}

type Random = (below: number) => number

/** A linear congruential generator (Numerical Recipes): the same workload everywhere. */
function seeded(seed: number): Random {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 4_294_967_296) * below)
  }
}

function many(type: string, of: (i: number) => Partial<EntityJson>): EntityJson[] {
  return Array.from({ length: EACH }, (_, i) => ({
    uid: uid(type, `${i}`),
    attrs: {},
    parents: [],
    ...of(i),
  }))
}

const ref = (to: EntityUid): { __entity: EntityUid } => ({ __entity: to })

/** Files in folders in folders; what a user may see hangs under an entity of the user's own. */
function gdrive(random: Random): Model {
  const some = (type: string): EntityUid => uid(type, `${random(EACH)}`)
  const owned = Array.from({ length: EACH }, () => random(EACH))
  return {
    policies: [
      `permit(principal, action in [Action::"view", Action::"comment"], resource)
       when { resource in principal.shown };`,
      `permit(principal, action, resource is File) when { resource.owner == principal };`,
      `permit(principal, action == Action::"view", resource is File) when { resource.public };`,
      `permit(principal, action in [Action::"edit", Action::"share"], resource is File)
       when { principal in resource.editors };`,
      `forbid(principal, action == Action::"share", resource is File) when { resource.locked };`,
    ],
    entities: [
      ...many('Group', (i) => ({ parents: i === 0 ? [] : [uid('Group', `${random(i)}`)] })),
      ...many('User', (i) => ({
        attrs: { shown: ref(uid('Shown', `${i}`)) },
        parents: [some('Group'), some('Group')],
      })),
      ...many('Shown', () => ({})),
      ...many('Folder', (i) => ({
        parents: i === 0 ? [] : [uid('Folder', `${random(i)}`), some('Shown'), some('Shown')],
      })),
      ...many('File', (i) => ({
        attrs: {
          owner: ref(uid('User', `${owned[i] ?? 0}`)),
          public: random(8) === 0,
          locked: random(4) === 0,
          editors: ref(uid('Group', `${random(8)}`)),
        },
        parents: [some('Folder'), some('Shown')],
      })),
    ],
    asks: ['view', 'comment', 'edit', 'share'].map((action) => [action, 'File'] as const),
  }
}

/** Repositories with a group of people for each of five roles, each role in the one below it. */
function github(random: Random): Model {
  const roles = ['readers', 'triagers', 'writers', 'maintainers', 'admins'] as const
  const role = (repo: string | number, name: string): EntityUid => uid('Role', `${repo}.${name}`)
  const may = (action: string, name: string): string =>
    `permit(principal, action == Action::"${action}", resource is Repo) when { principal in resource.${name} };`
  return {
    policies: [
      may('pull', 'readers'),
      may('fork', 'readers'),
      may('triage', 'triagers'),
      may('push', 'writers'),
      may('release', 'maintainers'),
      may('delete', 'admins'),
      `permit(principal, action == Action::"closeIssue", resource is Issue)
       when { principal == resource.reporter && principal in resource.repo.readers };`,
      `permit(principal, action in [Action::"closeIssue", Action::"labelIssue"], resource is Issue)
       when { principal in resource.repo.triagers };`,
    ],
    entities: [
      ...many('Org', () => ({})),
      ...many('Team', (i) => ({
        parents: [
          ...(i === 0 ? [] : [uid('Team', `${random(i)}`)]),
          ...Array.from({ length: 6 }, () => role(random(EACH), roles[random(5)] ?? 'readers')),
        ],
      })),
      ...many('User', () => ({
        parents: [uid('Team', `${random(EACH)}`), uid('Org', `${random(EACH)}`)],
      })),
      ...many('Repo', (i) => ({
        attrs: Object.fromEntries(roles.map((name) => [name, ref(role(i, name))])),
        parents: [uid('Org', `${random(EACH)}`)],
      })),
      ...Array.from({ length: EACH }, (_, i) => i).flatMap((id) =>
        roles.map((name, at): EntityJson => {
          const lower = roles[at - 1]
          return { uid: role(id, name), attrs: {}, parents: lower ? [role(id, lower)] : [] }
        }),
      ),
      ...many('Issue', () => ({
        attrs: {
          repo: ref(uid('Repo', `${random(EACH)}`)),
          reporter: ref(uid('User', `${random(EACH)}`)),
        },
      })),
    ],
    asks: [
      ...['pull', 'fork', 'triage', 'push', 'release', 'delete'].map((a) => [a, 'Repo'] as const),
      ['closeIssue', 'Issue'],
      ['labelIssue', 'Issue'],
    ],
  }
}

/** Lists with an owner, readers and editors. */
function tinytodo(random: Random): Model {
  const team = (): { __entity: EntityUid } => ref(uid('Team', `${random(EACH)}`))
  return {
    policies: [
      `permit(principal, action in [Action::"createList", Action::"myLists"], resource is App);`,
      `permit(principal, action, resource is List) when { resource.owner == principal };`,
      `permit(principal, action == Action::"readList", resource is List)
       when { principal in resource.readers || principal in resource.editors };`,
      `permit(principal, action in [Action::"addTask", Action::"editTask", Action::"dropTask"], resource is List)
       when { principal in resource.editors };`,
      `permit(principal in Team::"9", action, resource in App::"0");`,
      `forbid(principal in Team::"1", action == Action::"createList", resource);`,
    ],
    entities: [
      ...many('App', () => ({})),
      ...many('Team', (i) => ({ parents: i < 2 ? [] : [uid('Team', `${random(i)}`)] })),
      ...many('User', () => ({
        parents: [uid('Team', `${random(EACH)}`), uid('Team', `${random(EACH)}`)],
      })),
      ...many('List', () => ({
        attrs: {
          owner: ref(uid('User', `${random(EACH)}`)),
          name: 'list',
          readers: team(),
          editors: team(),
        },
        parents: [uid('App', '0')],
      })),
    ],
    asks: [
      ['createList', 'App'],
      ...['readList', 'addTask', 'editTask', 'dropTask'].map((a) => [a, 'List'] as const),
    ],
  }
}
