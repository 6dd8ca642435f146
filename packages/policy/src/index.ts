export { diff } from './diff/diff.ts'
export type {
  CallFinding,
  Counterexample,
  Decided,
  DiffReport,
  FieldFinding,
} from './diff/types.ts'
export type {
  CallAnswer,
  Clause,
  FieldAnswer,
  Judgement,
  OperationAnswer,
} from './questions/types.ts'
export { compareLayers } from './layers/layers.ts'
export type { Disagreement, LayerReport } from './layers/types.ts'
export { whatCanText, whatIfText, whoCanText } from './questions/text.ts'
export { unusedGrants } from './questions/unused.ts'
export type { UnusedReport } from './questions/unused.ts'
export { whatIf } from './questions/what-if.ts'
export type { WhatIf } from './questions/what-if.ts'
export { whatCan, whoCan } from './questions/who-can.ts'
export { replay } from './replay/replay.ts'
export type { ChangeGroup, ReplayReport, Verdict } from './replay/types.ts'
export { findingsOf, policyFindings, PolicyProblems } from './report/findings.ts'
export { plaintextFindings } from './report/plaintext.ts'
export type { Finding } from './report/findings.ts'
export { sarifLog } from './report/sarif.ts'
export { junitReport } from './test/junit.ts'
export { TestProblems } from './test/problem.ts'
export { readTests } from './test/read.ts'
export { jsonReport, testFindings, textReport, verdicts } from './test/report.ts'
export type { NetworkCoverage, Suite, TestReport } from './test/report.ts'
export type { TestFile } from './test/row.ts'
export { runTests } from './test/run.ts'
export type { TestRun } from './test/run.ts'
export { testsJsonSchema } from './test/schema.ts'
export { tapReport } from './test/tap.ts'
