import { Command, CommanderError } from 'commander'
import { renderError, SallyportError } from '@sallyport/base'
import { addAgent } from './commands/agent.ts'
import { addApproval } from './commands/approval.ts'
import { addMandate } from './commands/mandate.ts'
import { addAudit } from './commands/audit.ts'
import { addCa } from './commands/ca.ts'
import { addCheck } from './commands/check.ts'
import { addDemo } from './commands/demo.ts'
import { addDoctor } from './commands/doctor.ts'
import { addFederation } from './commands/federation.ts'
import { addIncident } from './commands/incident.ts'
import { addInit } from './commands/init.ts'
import { addInventory } from './commands/inventory.ts'
import { addKeys } from './commands/keys.ts'
import { addOperator } from './commands/operator.ts'
import { addPlanes } from './commands/planes.ts'
import { addPolicy } from './commands/policy.ts'
import { addRun } from './commands/run.ts'
import { addWorkloadApi } from './commands/workload-api.ts'
import { addSecret } from './commands/secret.ts'
import { addSegment } from './commands/segment.ts'
import { EXIT, exitCode } from './exit.ts'

/** The `sallyport` command. Returns the exit code; writes data to stdout and all else to stderr. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('sallyport')
    .description('A zero-trust fabric for networks of AI agents')
    .version('0.1.0')
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(text) })
    .showHelpAfterError('(see `sallyport --help`)')
  addDemo(program)
  addInit(program)
  addKeys(program)
  addCheck(program)
  addPlanes(program)
  addRun(program)
  addWorkloadApi(program)
  addAgent(program)
  addOperator(program)
  addPolicy(program)
  addApproval(program)
  addMandate(program)
  addAudit(program)
  addSecret(program)
  addSegment(program)
  addCa(program)
  addFederation(program)
  addIncident(program)
  addInventory(program)
  addDoctor(program)
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.ok
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    if (argv.includes('--json')) process.stdout.write(`${JSON.stringify(errorObject(error))}\n`)
    process.stderr.write(`sallyport: ${renderError(error)}\n`)
    return exitCode(error)
  }
}

/** With `--json` a failure is one JSON document on stdout too, so that scripts need not parse prose. */
function errorObject(error: unknown): unknown {
  if (error instanceof SallyportError) {
    const { code, message, detail, fix, span } = error
    return { error: { code, message, detail, fix, span } }
  }
  return {
    error: { code: 'SP_INTERNAL', message: error instanceof Error ? error.message : String(error) },
  }
}
