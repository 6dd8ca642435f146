import type { Command } from 'commander'
import { adminClient } from '../../admin.ts'
import { explainText } from '../../explain.ts'
import { createOutput } from '../../output.ts'
import type { CommonOptions } from '../../options.ts'
import { dataDir, dataOption, jsonOption } from '../../options.ts'

export function addExplain(policy: Command): void {
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
