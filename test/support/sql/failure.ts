import assert from 'node:assert/strict'
import pg from 'pg'

/** What a statement fails with. @throws AssertionError where it does not */
export async function failure(act: Promise<unknown>): Promise<pg.DatabaseError> {
  const error = await act.then(
    (given) => assert.fail(`it was not refused: ${JSON.stringify(given)}`),
    (given: unknown) => given,
  )
  assert.ok(error instanceof pg.DatabaseError, String(error))
  return error
}
