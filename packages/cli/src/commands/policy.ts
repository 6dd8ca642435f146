import type { Command } from 'commander'
import { addExplain } from './policy/explain.ts'
import { adminClient } from '../admin.ts'
import { explainText } from '../explain.ts'
import { createOutput } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import { addPromotion } from './policy/promote.ts'
import { addReplay } from './policy/replay.ts'
import { addTest } from './policy/test.ts'

/** Each subcommand in a file of its own. */
export function addPolicy(program: Command): void {
  const policy = program
    .command('policy')
    .description('test policies, and understand what they decide')
  addTest(policy)
  addReplay(policy)
  addExplain(policy)
  addPromotion(policy)

  policy
    .command('explain')
    .description('why a decision came out as it did (for operators)')
    .argument('<decision-id>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const path = `/api/decisions/${encodeURIComponent(id)}`
      out.data(await adminClient(dataDir(options)).get(path), explainText)
    })
}
