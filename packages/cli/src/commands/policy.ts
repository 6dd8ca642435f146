import type { Command } from 'commander'
import { addDiff } from './policy/diff.ts'
import { addExplain } from './policy/explain.ts'
import { addPromotion } from './policy/promote.ts'
import { addQuestions } from './policy/questions.ts'
import { addReplay } from './policy/replay.ts'
import { addTest } from './policy/test.ts'
import { addUnused } from './policy/unused.ts'

/** Each subcommand in a file of its own. */
export function addPolicy(program: Command): void {
  const policy = program
    .command('policy')
    .description('test policies, compare them, and understand what they decide')
  addTest(policy)
  addDiff(policy)
  addReplay(policy)
  addExplain(policy)
  addPromotion(policy)
  addQuestions(policy)
  addUnused(policy)
}
