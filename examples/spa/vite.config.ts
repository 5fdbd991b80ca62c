import { defineConfig } from 'vite'

// Another port would be another origin, which the API does not know.
export default defineConfig({ server: { port: 5173, strictPort: true } })
