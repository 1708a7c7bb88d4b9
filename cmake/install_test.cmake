# cmake -P: installs BUILD into a folder of its own, builds the EXAMPLES against that and runs them.
set(stage ${BUILD}/install_test)
file(REMOVE_RECURSE ${stage})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "failed: ${ARGN}")
  endif()
endfunction()

set(flags "")
if(SANITIZE)
  set(flags -fsanitize=${SANITIZE})
endif()
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${stage}/prefix)

# build_example(name compiler): what is built is ${stage}/<name>/<name>.
function(build_example name compiler)
  run(${CMAKE_COMMAND} -S ${EXAMPLES}/${name} -B ${stage}/${name} -G Ninja
      -DCMAKE_BUILD_TYPE=${CONFIG} ${compiler} -DCMAKE_PREFIX_PATH=${stage}/prefix)
  run(${CMAKE_COMMAND} --build ${stage}/${name})
endfunction()

build_example(attention_only "-DCMAKE_CXX_COMPILER=${CXX};-DCMAKE_CXX_FLAGS=${flags}")
run(${stage}/attention_only/attention_only)

build_example(attention_from_c "-DCMAKE_C_COMPILER=${CC};-DCMAKE_C_FLAGS=${flags}")
run(${stage}/attention_from_c/attention_from_c)

# The installed program leaves a model, and the example goes on from it.
build_example(generate_text "-DCMAKE_CXX_COMPILER=${CXX};-DCMAKE_CXX_FLAGS=${flags}")
file(WRITE ${stage}/text.txt "The quick brown fox jumps over the lazy dog.\n")
run(${stage}/prefix/bin/strobe train --data ${stage}/text.txt --steps 2 --seq 16 --n-embd 16
    --n-head 2 --n-layer 1 --validation-batches 0 --out ${stage}/train
    --save-model ${stage}/model)
run(${stage}/generate_text/generate_text ${stage}/model "The quick")
