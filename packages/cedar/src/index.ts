export * from './types.ts'
export type { BinaryOperator, Expr, PolicyAst, ScopeAst, Variable } from './ast.ts'
export { checkPolicies } from './check.ts'
export { parseDatetime, parseDecimal, parseDuration } from './chrono.ts'
export { EntityStore } from './entities.ts'
export type { EntityRecord } from './entities.ts'
export { parseIp } from './ip.ts'
export { closeCedar } from './parser.ts'
export { loadPolicySet } from './policy-set.ts'
export type { DecisionRequest, PolicyInput, PolicySet, TemplateLink } from './policy-set.ts'
export { extendContext, prepareContext, prepareValue } from './prepare.ts'
export type { PreparedContext, PreparedValue } from './prepare.ts'
export { renderAst } from './render.ts'
export type { GroupDecider, ResourcePlan } from './resource-plan.ts'
export { residualPolicies } from './partial/residual.ts'
export type { ResidualPolicy } from './partial/residual.ts'
export type { PartialRequest, UnknownEntity } from './partial/types.ts'
export { rowFilter } from './sql/row-filter.ts'
export type { RowFilter, RowFilterRequest } from './sql/row-filter.ts'
export type { ColumnMap, RowMap } from './sql/columns.ts'
export { loadSchema } from './schema.ts'
export type { CedarSchema } from './schema.ts'
export type {
  ActionModel,
  AttributeType,
  CedarType,
  EntityTypeModel,
  RecordType,
  SchemaTypes,
} from './schema-types.ts'
export { splitPolicies } from './split.ts'
export type { SplitPolicy } from './split.ts'
