export { Calls as SqlCalls } from './calls.ts'
export { SqlServer } from './server.ts'
export { Databases } from './upstream/pool.ts'
