import { after } from 'node:test'
import type pg from 'pg'
import { startSqlWorld } from './world.ts'
import type { SqlWorld } from './world.ts'

/** As `startSqlWorld`, for the tests of one file: it is closed after the last of them. */
export async function openedSqlWorld(
  ...given: Parameters<typeof startSqlWorld>
): Promise<SqlWorld> {
  const world = await startSqlWorld(...given)
  after(() => world.close())
  return world
}

/** The same, with a client of each agent that is connected. */
export async function openedSqlClients(
  ...given: Parameters<typeof startSqlWorld>
): Promise<{ readonly world: SqlWorld; readonly analyst: pg.Client; readonly clerk: pg.Client }> {
  const world = await openedSqlWorld(...given)
  const [analyst, clerk] = [world.client('analyst'), world.client('clerk')]
  await Promise.all([analyst.connect(), clerk.connect()])
  return { world, analyst, clerk }
}
