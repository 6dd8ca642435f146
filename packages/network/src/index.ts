export * from './attestation-types.ts'
export {
  foreignAgentEnds,
  foreignAgentsOf,
  foreignMaxAgeMs,
  isOfForeignAgent,
} from './federation.ts'
export type { Federation, ForeignAgent } from './federation.ts'
export * from './postgres-types.ts'
export * from './secrets-types.ts'
export * from './types.ts'
export { BASE_CONTEXT, deriveSchema } from './cedar-schema.ts'
export { deriveEntities, instanceEntity } from './entities.ts'
export { networkJsonSchema } from './json-schema.ts'
export { loadDeclaration } from './load.ts'
export { localClock } from './local-clock.ts'
export type { LocalTime } from './local-clock.ts'
export { indexNetwork } from './network-index.ts'
export type { NetworkIndex } from './network-index.ts'
export { parseNetwork } from './parse.ts'
export type { ParseOptions } from './parse.ts'
export { didYouMean, NetworkProblems, renderProblem } from './problem.ts'
export type { Problem, ProblemCode } from './problem.ts'
export { CONTROL_PORT, GATEWAY_PORT, reach, reachability } from './reachability.ts'
export type { Matrix } from './reachability.ts'
export { secretRuleFor } from './secrets.ts'
export { readYaml } from './read-yaml.ts'
export type { Located } from './read-yaml.ts'
export { structureChecker } from './structure.ts'
