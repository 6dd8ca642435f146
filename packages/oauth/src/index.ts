export type { Artefacts, KeptArtefact } from './artefacts.ts'
export type { Peer } from './call.ts'
export { createAuthorisationServer, isOauthPath } from './server.ts'
export type { AuthorisationServer, AuthorisationServerDeps } from './server.ts'
