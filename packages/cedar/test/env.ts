import { recordFromJson, refOf } from '../src/data.ts'
import { EntityStore } from '../src/entities.ts'
import type { Env } from '../src/operators.ts'
import type { EntityJson, Request } from '../src/index.ts'

/** What a request is evaluated against, as `decide` sets it up. */
export function envOf(request: Request, entities: readonly EntityJson[] | EntityStore): Env {
  const store = entities instanceof EntityStore ? entities : EntityStore.from(entities)
  const [principalRecord, actionRecord, resourceRecord] = [
    store.find(request.principal),
    store.find(request.action),
    store.find(request.resource),
  ]
  return {
    principal: principalRecord?.uid ?? refOf(request.principal),
    action: actionRecord?.uid ?? refOf(request.action),
    resource: resourceRecord?.uid ?? refOf(request.resource),
    context: recordFromJson(request.context),
    principalRecord,
    actionRecord,
    resourceRecord,
    store,
  }
}
