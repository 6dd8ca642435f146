/**
 * The solver as a process of its own, which can be ended at any time: one JSON text a line on stdin (a script of SMT-LIB 2), one
 * JSON text a line on stdout (what it answered).
 */
import { createInterface } from 'node:readline'
import { init } from 'z3-solver'

const { Z3, em } = await init()
const config = Z3.mk_config()
for await (const line of createInterface({ input: process.stdin })) {
  const context = Z3.mk_context(config)
  let answer: string
  try {
    answer = await Z3.eval_smtlib2_string(context, String(JSON.parse(line)))
  } catch (error) {
    answer = `(error "${String(error)}")`
  }
  Z3.del_context(context)
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
em.PThread.terminateAllThreads()
