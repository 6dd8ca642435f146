export { mask } from './mask.ts'
export type { MaskStyle } from './mask.ts'
export { createTokeniser } from './tokenise.ts'
export type { Tokeniser } from './tokenise.ts'
