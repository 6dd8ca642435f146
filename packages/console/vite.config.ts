import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'
import type { UserConfig } from 'vite'

/** `SALLYPORT_API` points `vite` (development only) at a running control plane or the fixture server. */
const api = process.env['SALLYPORT_API'] ?? 'http://localhost:7600'

const config: UserConfig = defineConfig({
  plugins: [react()],
  build: {
    // The first with `light-dark()` and all else that is used: nothing is rewritten for older ones.
    target: ['chrome125', 'firefox126', 'safari18'],
    // The content security policy allows no inline script and no data: script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: true,
  },
  worker: { format: 'es' },
  server: { host: '127.0.0.1', proxy: { '/api': api } },
})
export default config
